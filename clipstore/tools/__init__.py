"""Commands for people: python -m clipstore.tools.NAME."""
