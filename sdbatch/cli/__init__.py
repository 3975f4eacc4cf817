"""The commands: parse, call one function of api, print."""
