"""What can be wrong with a loaded plan, one idea a module; ``planner.check`` is the door.

What the rules read:
    sources       every expression and template of a plan, parsed once, with what its names mean
    graph         who waits for whom at the top; cycles       predecessors   what stands directly before a node
    outputs       what is known of values from the schemas    literals       values against parts of a schema
    places        paths of nodes                              findings       what was found

The rules:
    sight, texts, binding, inputs, mappings, conditions, bounds, policy; release: what cannot be run yet

For people:
    review        issues of a valid plan, for the inspection report
"""
