"""What `sdbatch bench` measures: models of random weights, the renderer over them, and a plain loop beside it."""
