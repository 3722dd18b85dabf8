"""The engine in one process: the journal is written first, and what is durable is folded.

    engine     the door: start, run, resume             run       a handle on one run
    runner     journal -> fold -> commands, in batches  driven    one run under way
    steps      calls of tools, held where they must be  timers    when to wake up
    planning   from a prompt or a plan to a fact        replay    a run, rebuilt from its log
    desk       commands of other processes

The journal: ``journal`` is the contract; ``memory``, and ``sqlite`` with its writer thread, keep it; ``reader`` reads
beside an owner, ``inbox`` writes to one. Below those are ``transaction``, ``database``, ``wal`` and ``owner``.
"""
