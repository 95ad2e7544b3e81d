"""A worker's arguments name a model, its files and its name in the fleet."""

from pathlib import Path

from protocol.process.start_error import StartError


def served_names(served: str) -> list[str]:
    """Returns the model's names, the first of which counts. SGLang takes one name; several are
    written with commas between them, as its users do.

    Without a name SGLang serves a local model under its path; clients get the directory's name,
    since paths are nobody's business.
    """
    if Path(served).is_dir():
        return [Path(served).resolve().name]
    names = [name.strip() for name in served.split(",") if name.strip()]
    return list(dict.fromkeys(names)) or [served]


def model_dir_of(model: str, revision: str | None) -> Path:
    """Returns the directory of a local model, or the snapshot that was downloaded of another.

    Raises:
        StartError: there is neither.
    """
    if Path(model).is_dir():
        return Path(model).resolve()
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # only for models from the hub

    for file in ("tokenizer.json", "config.json"):
        cached = try_to_load_from_cache(model, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent
    raise StartError(f"{model} is neither a directory nor in the Hugging Face cache")


def template_file(chat_template: str | None) -> Path | None:
    """Returns the Jinja file of --chat-template, None if not given; raises StartError where it is
    no file, as for the names of SGLang's own templates, which the frontend cannot render.
    """
    if chat_template is None:
        return None
    path = Path(chat_template)
    if not path.is_file():
        raise StartError(
            f"--chat-template {chat_template}: no such file (kvmesh renders Jinja files, not "
            "SGLang's named templates)"
        )
    return path.resolve()
