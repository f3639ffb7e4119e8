"""The `more4d` subcommands: arguments in, one call, messages out."""
