"""The simulation is an engine without a model: SGLang's scheduling shape, a timing model,
deterministic text, faults on demand.

It stands in for GPUs in load tests of everything but the engine, and lets people try kvmesh without
one.

    engine      the Engine: submit and abort in, step batches out; assembly puts it together
    runner      a rank's scheduler on the event loop, paced by timing
    scheduling  one rank's scheduler, prefix cache and KV events; pure but for its outlet
    text        the next token; vocabulary has the ids, scores and embedding what else is made
    faults      what can be made to go wrong; abilities, what cannot be asked for
"""
