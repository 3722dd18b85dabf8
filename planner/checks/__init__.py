"""What can be wrong with a loaded plan, one idea a module; ``planner.check`` is the door.

sources     every expression and template of a plan, parsed once, with what its names mean
graph       who waits for whom at the top; cycles
outputs     what is known of a node's output from the schemas
places      JSON Pointers into the plan     findings    what was found      schemas     reading JSON Schemas

sight, expressions, binding, inputs, joins, conditions, bounds, policy, tools      the rules
"""
