"""Pictures and videos are made by SGLang's DiffGenerator, in a process of its own."""
