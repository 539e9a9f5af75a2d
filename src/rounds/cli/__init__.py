"""The door: one module per verb, imported only when that verb is called; only here is anything printed to stdout."""
