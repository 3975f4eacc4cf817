"""Job specs and tables → the rows that they ask for."""
