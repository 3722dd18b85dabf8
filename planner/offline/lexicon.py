"""The words this planner knows. Data only; ``words`` says what is done with it."""

from __future__ import annotations

from typing import Final

SUFFIXES: Final = (
    ("ifications", "if"), ("ification", "if"), ("ability", "abl"), ("ibility", "ibl"), ("ations", ""), ("ation", ""),
    ("ating", ""), ("ated", ""), ("ates", ""), ("ate", ""), ("ments", ""), ("ment", ""), ("ings", ""), ("ing", ""),
    ("ified", "if"), ("ifies", "if"), ("ions", ""), ("ion", ""), ("ies", "y"), ("ied", "y"), ("ify", "if"), ("ed", ""),
    ("sses", "ss"), ("es", ""), ("s", ""), ("e", ""),
)  # fmt: skip
"""Endings and what stands in their place in a stem; the first that leaves three letters counts."""

IRREGULAR: Final = {
    "sent": "send", "found": "find", "paid": "pay", "bought": "buy", "got": "get", "chosen": "choose",
    "analysis": "analys", "analyze": "analys", "analyse": "analys", "analyses": "analys", "analyzes": "analys",
    "summary": "summar", "summaries": "summar", "summarize": "summar", "summarise": "summar",
    "address": "address", "process": "process", "access": "access", "people": "person", "children": "child",
}  # fmt: skip
"""Stems that no ending gives."""

STOP: Final = frozenset(
    """
    a an the this that these those it its they them their he she his her him we us our you your i me my of to in on
    at by for from with into onto as is are was were be been being do does did has have had will would should shall
    can could may might must and or but if then else when while so than also please just only each every all any
    some both new given using via per about up out
    """.split()
)
"""Words that say nothing about which tool is meant."""

DETERMINERS: Final = frozenset("the a an this that these those its their his her our my your of".split())
"""After these comes a noun, whatever else the word may be."""

SAME: Final = (
    "get fetch find lookup retrieve load read obtain query",
    "check verify validate confirm",
    "create add make open register",
    "delete remove erase",
    "notify alert inform tell",
    "calculate compute determine",
    "score rate rank",
    "search browse",
    "send deliver dispatch",
    "update change modify edit",
    "customer client",
    "charge bill",
    "picture image photo",
    "book reserve",
    "stock inventory",
)
"""Words taken for one another, a line each. Few: a wrong tool is worse than a question."""

VERBS: Final = """
    accept activate add alert allocate analyse analyze apply approve archive assess assign attach bill block book
    browse build buy calculate call cancel capture categorize change charge check choose classify clean close
    collect combine compare compute confirm convert copy count create deactivate decide deduct delete deliver
    deploy detect determine dispatch download draft edit email encrypt enrich erase escalate estimate evaluate
    export extract fetch file fill find forward generate geocode get give grade grant hold import increase index
    inform insert inspect invite invoice issue label list load lock log lookup make mark measure merge message
    modify monitor move notify obtain offer open order pay ping place plan post predict prepare print prioritize
    process promote publish purchase query rank rate read recommend record refund register reject release remove
    rename render reply report request reserve reset resize resolve restock retrieve return revoke route run save
    scan schedule score scrape search select sell send set ship sign sort split start stop store submit subscribe
    suggest summarise summarize sync tag tell test track transcribe transfer transform translate trigger unlock
    update upload upsert validate verify wait warn weigh withdraw write
    """.split()
"""What an instruction begins with."""

ALSO_NOUNS: Final = frozenset(
    """
    alert approve bill block book call change charge check copy count draft email estimate file forecast grade
    grant import index insert invite invoice issue label list load lock log mark measure message monitor move offer
    order pay ping place plan post price promise purchase query rank rate record refund release report request
    reserve return route run scan schedule score search select set ship sort split start stock stop store tag test
    track transfer trigger update upload value view weight
    """.split()
)
"""Verbs that may as well be nouns: "and order total" tells no one to order."""

GENERIC: Final = frozenset(
    "automate build carry do execute go handle help implement manage onboard perform process run use want".split()
)
"""Verbs that say that something is done, not what: alone they call for no tool."""

MAKING: Final = """
    get fetch find lookup retrieve load read obtain create add make build generate draft write enrich update change
    extract convert transform clean merge search select list collect download scrape summarize translate
    """.split()
"""Verbs of tools that return the thing they are about; ``validateOrder`` returns something about it."""
