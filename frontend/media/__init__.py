"""What clients put into prompts beside text is read here: from their bodies or from the net."""
