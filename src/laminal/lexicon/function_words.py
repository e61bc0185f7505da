"""The words that are in no synonym pair: light verbs and function words, as two named lists.

Light verbs carry little meaning of their own and share synsets with half of the verbs (make/draw, have/suffer); they are excluded by
lemma, where the word can be a form of the verb. WordNet has function words too, in odd senses (in: inch, as: arsenic); they are excluded
as written.
"""

LIGHT_VERBS_NAME = "laminal light verbs, version 1"
_VERBS = "be come do get give go have keep let make put say set take"
LIGHT_VERBS: frozenset[str] = frozenset(_VERBS.split())

STOP_WORDS_NAME = "laminal closed-class words, version 1"
_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its itself
they them their theirs themselves one oneself thou thee thy thine thyself ye who whom whose which what whoever whatever whichever
this that these those somebody someone something anybody anyone anything nobody none nothing everybody everyone everything
"""
_DETERMINERS = """
a an the all another any both each either enough every few less many more most much neither no other own same several some such
"""
_PREPOSITIONS = """
about above across after against along amid among around as at before behind below beneath beside besides between beyond by despite down
during except for from in inside into of off on onto out outside over per since than through throughout till to toward
towards under until up upon via with within without
"""
_CONJUNCTIONS = "and but because if lest nor or so though although unless whether while whereas yet"
_AUXILIARIES = """
am is are was were be been being have has had having do does did doing can cannot could may might must ought shall should will would
"""
_ADVERBS = "again here how just not now once only then there thus too very when whence where whither why ever never"
STOP_WORDS: frozenset[str] = frozenset(" ".join((_PRONOUNS, _DETERMINERS, _PREPOSITIONS, _CONJUNCTIONS, _AUXILIARIES, _ADVERBS)).split())
