"""`python -m proxycache` is the command `proxycache`."""

from proxycache.cli.main import main

main()
