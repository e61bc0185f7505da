"""Sentences with slots, each of which takes words of one lexicographer class of WordNet."""

import re

from laminal.lexicon import pronounce

_SLOT = re.compile(r"\{([a-z]+\.[A-Za-z]+)\}")
TEMPLATES: tuple[str, ...] = tuple(
    line.strip()
    for line in """
    they ate {noun.food} and {noun.food} at dinner
    the cook served the {noun.food} with the {noun.food}
    she bought some {adj.all} {noun.food} at the market
    he left the {noun.food} on his plate and asked for {noun.food}
    he kept the {noun.artifact} behind the {noun.artifact}
    someone left a {adj.all} {noun.artifact} near the {noun.artifact}
    they sold the {noun.artifact} and bought a new {noun.artifact}
    the {noun.person} carried the {noun.artifact} into the house
    you can mend a {noun.artifact} with a {noun.artifact}
    the {noun.person} spoke to the {noun.person} for an hour
    my sister met a {adj.all} {noun.person} and a {noun.person} at the party
    his uncle was a {noun.person}, not a {noun.person}
    the {noun.person} asked the {noun.person} to {verb.communication}
    every {noun.person} in town feared the {adj.all} {noun.person}
    no {noun.person} would {verb.social} with a {noun.person}
    the farmer saw a {noun.animal} and a {noun.animal} in the field
    a hungry {noun.animal} chased the {noun.animal} into the woods
    the children fed the {adj.all} {noun.animal} at the zoo
    a {noun.plant} grew beside the {noun.plant} in the garden
    she watered the {noun.plant} every morning
    the doctor looked at her {noun.body} and her {noun.body}
    he felt a {adj.all} pain in the {noun.body}
    the nurse washed the {noun.body} and covered the {noun.body}
    she felt {noun.feeling} and then {noun.feeling}
    his heart was full of {noun.feeling} and {noun.feeling}
    a {adj.all} {noun.feeling} came over the {noun.person}
    the teacher explained the {noun.cognition} and the {noun.cognition}
    her {noun.cognition} changed our {noun.cognition} of the world
    he wrote a {adj.all} book about {noun.cognition}
    the letter held a {noun.communication} and a {noun.communication}
    they read the {noun.communication} aloud to the {noun.group}
    nobody believed the {adj.all} {noun.communication} in the newspaper
    her {noun.communication} was shorter than his {noun.communication}
    the {noun.act} was followed by another {noun.act}
    they were punished for the {noun.act} and the {noun.act}
    the {noun.group} planned the {adj.all} {noun.act} for weeks
    it takes practice, this kind of {noun.act}
    the {noun.event} ended in a {noun.event}
    everyone remembers the {adj.all} {noun.event} of that year
    people admired the {noun.attribute} and {noun.attribute} of the {noun.person}
    its {noun.attribute} surprised us more than its {noun.attribute}
    he is known for {noun.attribute} and {noun.attribute}
    the {noun.state} led to years of {noun.state}
    a country in {noun.state} has no time for {noun.state}
    the road runs from the {noun.location} to the {noun.location}
    they lived in a {adj.all} {noun.location} near the {noun.location}
    the factory mixes {noun.substance} with {noun.substance}
    the bucket was filled with {adj.all} {noun.substance}
    we waited from the {noun.time} until the {noun.time}
    it happened in the {noun.time} before the {adj.all} {noun.time}
    he measured a {noun.quantity} and then another {noun.quantity}
    they weighed a {noun.quantity} of it on the scale
    she paid the {noun.possession} out of her {noun.possession}
    the bank lost the {noun.possession} and the {noun.possession}
    the {noun.group} joined the {noun.group} in the spring
    a {adj.all} {noun.group} gathered around the {noun.person}
    draw a {noun.shape} next to the {noun.shape}
    the edge of the {adj.all} {noun.shape} was painted red
    from the boat we saw a {noun.object} and a {noun.object}
    the {adj.all} {noun.object} lay beyond the {noun.location}
    scientists measured the {noun.phenomenon} and the {noun.phenomenon}
    the {noun.process} is slower than the {noun.process}
    there is a {noun.relation} between the {noun.cognition} and the {noun.cognition}
    his only {noun.motive} was {noun.feeling}
    they had to {verb.motion} and {verb.motion} all day
    he began to {verb.motion} toward the {noun.location}
    watch it {verb.motion} down the hill and {verb.motion} away
    we saw the {noun.animal} {verb.motion} across the river
    you should {verb.communication} it before they {verb.communication} it
    she wanted to {verb.communication} and not to {verb.communication}
    nobody may {verb.communication} in front of the {noun.person}
    they promised to {verb.social} and {verb.social} each other
    the king had to {verb.social} the {noun.group}
    use your hands to {verb.contact} it and {verb.contact} it
    he tried to {verb.contact} the {noun.artifact} with a knife
    do not {verb.contact} the {adj.all} {noun.artifact}
    it will {verb.emotion} her but {verb.emotion} him
    bad news can {verb.emotion} a {adj.all} {noun.person}
    i {verb.cognition} the {noun.cognition} and {verb.cognition} the rest
    students {verb.cognition} what teachers {verb.cognition}
    in hot water it will {verb.change} and {verb.change}
    time will {verb.change} the {noun.substance}
    these things {verb.stative} where those {verb.stative}
    they {verb.possession} money and {verb.possession} land
    the {noun.person} will {verb.possession} the {noun.possession}
    an artist can {verb.creation} and {verb.creation} all night
    they {verb.creation} a {adj.all} {noun.artifact} every year
    we could {verb.perception} it and {verb.perception} it from the window
    did you {verb.perception} the {noun.phenomenon}
    when i am tired i {verb.body} and {verb.body}
    babies {verb.body} when they are {adj.all}
    our team will {verb.competition} theirs and {verb.competition} again
    the army had to {verb.competition} before the {noun.event}
    they {verb.consumption} and {verb.consumption} at the feast
    it was {adj.all}, {adj.all} and {adj.all}
    a {adj.all} man is seldom {adj.all}
    the room looked {adj.all} but felt {adj.all}
    her answer was {adj.all} and rather {adj.all}
    {adj.all} people are often {adj.all} too
    that was a {adj.all} and {adj.all} thing to say
    what a {adj.all} day, and what a {adj.all} night
    it seems {adj.all} to me, if not {adj.all}
    the {adj.all} {noun.person} gave a {adj.all} {noun.communication}
    she answered {adv.all} and left {adv.all}
    he worked {adv.all} but {adv.all} talked about it
    they {adv.all} came back, and {adv.all} too
they ordered {noun.food}, {noun.food} and {noun.food}
    {noun.food} and {noun.food} go well with {noun.food}
    {noun.artifact}, {noun.artifact} and {noun.artifact} stood in the {noun.artifact}
    a {noun.artifact} is no {noun.artifact}
    {noun.person} and {noun.person} met the {noun.person}
    a {adj.all} {noun.person}, a {adj.all} {noun.person}
    {noun.animal}, {noun.animal} and {noun.animal} came to drink
    {noun.feeling}, {noun.feeling} and {noun.feeling} filled her
    {noun.act} and {noun.act} are forms of {noun.act}
    {noun.communication} or {noun.communication}, the {noun.person} heard it
    {noun.cognition}, {noun.cognition} and {noun.cognition} shape the mind
    after the {noun.event} came {noun.event} and {noun.event}
    {noun.attribute}, {noun.attribute} and {noun.attribute} matter most
    {noun.state} and {noun.state} brought {noun.state}
    {noun.substance}, {noun.substance} and {noun.substance} were mixed
    from {noun.location} to {noun.location} and {noun.location}
    {noun.quantity} by {noun.quantity}, {noun.quantity} by {noun.quantity}
    {noun.group} against {noun.group}, {noun.group} with {noun.group}
    {noun.time} after {noun.time}, {noun.time} by {noun.time}
    {noun.possession}, {noun.possession} and {noun.possession} cost money
    {noun.shape}, {noun.shape} and {noun.shape} in one picture
    {noun.object}, {noun.object} and {noun.object} on the horizon
    the {noun.body}, the {noun.body} and the {noun.body}
    {verb.motion}, {verb.motion} and {verb.motion} again
    {verb.communication}, {verb.communication} or {verb.communication}, said the {noun.person}
    {verb.social}, {verb.social} and {verb.social} your {noun.person}
    {verb.contact} it, {verb.contact} it and {verb.contact} it
    {verb.change}, {verb.change} and {verb.change} the {noun.substance}
    they {verb.cognition}, {verb.cognition} and {verb.cognition}
    {verb.emotion} and {verb.emotion} the {adj.all} {noun.person}
    {verb.possession}, {verb.possession} and {verb.possession} the {noun.possession}
    {adj.all} and {adj.all}, {adj.all} and {adj.all}
    {adj.all} {noun.attribute} and {adj.all} {noun.feeling}
    {adv.all}, {adv.all} and {adv.all} she went on
    the {adj.pert} museum is closed on sundays
    """.strip().splitlines()
)


def slots(template: str) -> tuple[str, ...]:
    """Lexicographer classes of a template's slots, in order."""
    return tuple(_SLOT.findall(template))


def bare(template: str) -> str:
    """Give what a template says around its slots."""
    return _SLOT.sub("", template)


def fill(template: str, words: tuple[str, ...]) -> str:
    """Put `words` into the slots, in order, with a or an as it sounds."""
    left = iter(words)
    return articles(_SLOT.sub(lambda _: next(left), template))


def articles(text: str) -> str:
    """Write a before a consonant and an before a vowel, by the next word's sound."""

    def right(match: re.Match[str]) -> str:
        known = pronounce.pronunciations(match.group(2))
        vowel = known[0][0][0] in "AEIOU" if known else match.group(2)[0] in "aeiou"
        return f"{'an' if vowel else 'a'} {match.group(2)}"

    return re.sub(r"\b(an?) ([a-z']+)", right, text)
