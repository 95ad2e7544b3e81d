"""Grammars that the output must conform to are tried on their way into SGLang.

    trial          compiles one where nothing can be harmed by it
    guard          asks for a trial before the engine sees a grammar; remembers what came of it
    trial_process  runs the first for the second
    scheduler      what SGLang's schedulers do differently here: they forget grammars, survive
                   their dead ends, and go on behind replayed output

What guard and trial say to each other is in `messages`.
"""
