"""OpenAI's chats and completions are answered here, as a whole or streamed."""
