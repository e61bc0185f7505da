from laminal.lexicon import pronounce


def test_every_pronunciation_without_stress() -> None:
    assert pronounce.pronunciations("read") == (("R", "EH", "D"), ("R", "IY", "D"))
    assert pronounce.pronunciations("mind") == (("M", "AY", "N", "D"),)
    assert pronounce.pronunciations("xyzzyq") == () and pronounce.pronunciations("READ") == ()


def test_the_dictionary_is_whole_and_of_39_phones() -> None:
    listed = [phones for word in pronounce.words() for phones in pronounce.pronunciations(word)]
    assert len(pronounce.words()) == 126_052 and len(listed) > 134_000
    assert {phone for phones in listed for phone in phones} == set(pronounce.PHONES) and len(pronounce.PHONES) == 39
    assert all(word == word.lower() and not word.endswith(")") for word in pronounce.words())
