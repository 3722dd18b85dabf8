"""From a prompt, or a plan in any spelling, to a checked plan: what may run, and how much at most.

    ir            the plan as data                     options       what a request may set
    loading       text -> plan; ``dialects`` normalise
    scope         where a node stands, what a ``$name`` means there
    expressions   the language of conditions           templates     values with references in them
    references    how a reference is spelled           types         what is known of a value
    check         every fault at once                  checks        the rules, one idea a module
    certificate   the most that a plan can do          near          the name that was meant
    inspection    the report for people                mermaid       the picture
    planning      ask, check, repair, escalate         request       what is asked, what comes back
    offline       the planner without a model          llm           the one with; its words: ``prompt``, ``answer``

Begin with ``ir``, then ``check``. Nothing here runs a plan; only ``llm`` talks to anybody.
"""
