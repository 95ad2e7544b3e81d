"""What the process that tries grammars must know of the engine."""

from typing import Any

from workers.sglang.grammars.messages import Setup


def setup_of(manager: Any) -> Setup:
    """Returns how SGLang's create_grammar_backend and XGrammarGrammarBackend set themselves up."""
    tokenizer, model, server_args = manager.tokenizer, manager.model_config, manager.server_args
    if hasattr(tokenizer, "init_xgrammar"):
        info, _ = tokenizer.init_xgrammar()
    else:
        from xgrammar import TokenizerInfo  # noqa: PLC0415  # with the first grammar

        eos = list(model.hf_eos_token_id) if model.hf_eos_token_id else None
        info = TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=model.vocab_size, stop_token_ids=eos
        )
    return Setup(
        tokenizer=info.serialize_json(),
        vocab_size=model.vocab_size,
        any_whitespace=not server_args.constrained_json_disable_any_whitespace,
        max_whitespace_cnt=server_args.constrained_json_max_whitespace_cnt,
    )
