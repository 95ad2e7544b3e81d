"""A request in SGLang's hands is a run, from its submit to its end."""
