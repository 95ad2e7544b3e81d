"""Turns text into token ids and back, by the library that is fast and agrees with the reference."""
