"""The command line: `main` dispatches to the commands, one file each in `commands/`."""
