"""What is accepted on loading, and how each form becomes the canonical one (canonical.md §2, "Normalising").

    dialect      shape                                        detected by
    A            nodes with inline branches, edges            ``nodes``
    B            nodes with ids in branches, ``operation``     ``nodes``
    C            nested steps, one after the other            ``flow``
    D            flat steps, ids in branches                  ``steps`` (and ``rootIds``)
    docs         A with lists in edges and START, END         ``nodes``

Read in this order: ``fields`` (the table of fields, from which names, shapes, defaults and codes come), ``document``
(which dialect), ``nodes`` (one node -> a Draft), ``ownership`` (ids in branches), ``naming`` (ids), ``edges``,
``rewriting`` (references), ``canonical`` (drafts -> JSON). ``loading`` runs them in that order.
"""
