from rewards.motion.words import CATEGORIES, EOS, OTHER, SOS, encode_caption
from rollout.motion.vocabulary import UNKNOWN, Vocabulary

VOCABULARY = Vocabulary([SOS, EOS, "a", "person", "walk", "left", "arm", "slowly", "ball"])


def test_a_caption_stands_between_sos_and_eos_with_its_categories():
    words, categories = encode_caption(VOCABULARY, "A person slowly walk left, arm: ball")
    index = VOCABULARY.index
    assert words == [index[w] for w in (SOS, "a", "person", "slowly", "walk", "left", "arm", "ball", EOS)]
    names = [CATEGORIES[c] for c in categories]
    assert names == "OTHER OTHER OTHER Desc_VIP Act_VIP Loc_VIP Body_VIP Obj_VIP OTHER".split()


def test_an_unknown_word_keeps_its_place_and_has_no_category():
    words, categories = encode_caption(VOCABULARY, "a kick left")  # kick is an action word, but not in the vocabulary
    assert words[2] == UNKNOWN and categories[2] == OTHER and len(words) == 5


def test_at_most_twenty_words_count():
    words, categories = encode_caption(VOCABULARY, "walk " * 19 + "left arm arm")
    assert len(words) == len(categories) == 22
    assert words[-2:] == [VOCABULARY.index["left"], VOCABULARY.index[EOS]]
