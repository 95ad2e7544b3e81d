"""Pictures on a GPU: SGLang's DiffGenerator alone, and through the mesh."""
