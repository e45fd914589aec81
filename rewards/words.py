"""Captions as the T2M evaluator reads them: word indices and part-of-speech categories, framed by sos and eos.

The official reader tags and lemmatises with spaCy. Here there is no tagger: a word in one of the official VIP lists
gets that category, every other word is OTHER, and words stand as written (as their vectors were trained).
"""

from rollout.motion.vocabulary import UNKNOWN, Vocabulary, split_words

SOS, EOS = "sos", "eos"
MAX_WORDS = 20
CATEGORIES = "VERB NOUN DET ADP NUM AUX PRON ADJ ADV Loc_VIP Body_VIP Obj_VIP Act_VIP Desc_VIP OTHER".split()
OTHER = CATEGORIES.index("OTHER")
VIP = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": (
        "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise wash "
        "stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb"
    ),
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
CATEGORY_OF = {word: CATEGORIES.index(name) for name, words in VIP.items() for word in words.split()}


def encode_caption(vocabulary: Vocabulary, caption: str) -> tuple[list[int], list[int]]:
    """Word indices and category indices of sos + at most 20 words + eos (2..22 entries).

    An unknown word keeps its place, as the unknown word's vector with category OTHER.
    """
    words = split_words(caption)[:MAX_WORDS]
    indices = [vocabulary.index.get(word, UNKNOWN) for word in words]
    categories = [CATEGORY_OF.get(word, OTHER) if i != UNKNOWN else OTHER for word, i in zip(words, indices)]
    return [vocabulary.index[SOS], *indices, vocabulary.index[EOS]], [OTHER, *categories, OTHER]
