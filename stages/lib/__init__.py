"""What the stages share: nouns, one idea each."""
