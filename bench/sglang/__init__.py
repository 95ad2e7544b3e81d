"""Measures real SGLang: bare, through the mesh, and with each of our additions."""
