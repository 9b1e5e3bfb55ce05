"""Scenes of one to four digits on 16 by 16 pixels, and the sentences that describe them.

A scene is a tuple of one or two rows, each a tuple of one or two digits: ((3, 7), (2,)) is "a three
left of a seven above a two". The grammar of its sentences:

    scene = row | row "above" row | row "below" row
    row   = "a" digit | "a" digit "left of a" digit | "a" digit "right of a" digit | "two" digits

with "an" for "a" before an eight. A row that is alone stands in the middle, and so does a digit
that is alone in its row.
"""

import itertools

import torch
from torch.nn.utils.rnn import pad_sequence

from fmlib.data import Digits, digits
from fmlib.shapes import check_finite, check_points, whole

__all__ = [
    "LAYOUTS", "LENGTH", "WORDS", "Reader", "Scenes", "compose", "encode", "halves", "is_unseen",
    "parse", "prompts",
]  # fmt: skip

NAMES = "zero one two three four five six seven eight nine".split()
PLURALS = "zeros ones twos threes fours fives sixes sevens eights nines".split()
WORDS = ["", "left", "right", "above", "below", *NAMES, *PLURALS]  # "" fills a short sentence up
LENGTH = 7  # words of the longest sentence, not counting those that say nothing: "a", "an", "of"
CPU = "cpu"  # where everything here is, whatever the default device
LAYOUTS = [(1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]  # how many digits stand in each row


def is_unseen(scene):
    """Whether a scene holds a pair that is never trained: a left of b in a row, or a above b.

    20 of the 100 ordered pairs (a, b) are kept back, two for each a and two for each b: those with
    b - 3 a = 1 or 7 (mod 10). No double is among them: a word like "twos" stands for nothing else,
    and would never be met.  Taught in: 09, section 4.
    """
    pairs = [row for row in scene if len(row) == 2]
    pairs += itertools.product(*scene) if len(scene) == 2 else []
    return any((b - 3 * a) % 10 in (1, 7) for a, b in pairs)


def _row_prompts(row):
    one = [f"{'an' if k == 8 else 'a'} {NAMES[k]}" for k in row]
    if len(row) == 1:
        return one
    texts = [f"{one[0]} left of {one[1]}", f"{one[1]} right of {one[0]}"]
    return [*texts, f"two {PLURALS[row[0]]}"] if row[0] == row[1] else texts


def prompts(scene):
    """All sentences for a scene, a list of str."""
    rows = [_row_prompts(row) for row in scene]
    if len(rows) == 1:
        return rows[0]
    pairs = list(itertools.product(*rows))
    return [f"{a} above {b}" for a, b in pairs] + [f"{b} below {a}" for a, b in pairs]


def parse(prompt):
    """The scene that a sentence, or a row of encode's result, describes.

    Raises ValueError for a sentence that is not of the grammar.
    """
    if isinstance(prompt, torch.Tensor):
        return _scene([WORDS[i] for i in prompt.tolist() if i], prompt)
    said = prompt.lower().split()
    scene = _scene([word for word in said if word not in ("a", "an", "of")], prompt)
    if " ".join(said) not in prompts(scene):  # an article is missing or wrong, or an "of"
        raise _not_of_the_grammar(prompt)
    return scene


def _scene(words, prompt):
    for between, step in (("above", 1), ("below", -1)):
        if between in words:
            i = words.index(between)
            return tuple(_row(part, prompt) for part in (words[:i], words[i + 1 :])[::step])
    return (_row(words, prompt),)


def _row(words, prompt):
    match words:
        case [a] if a in NAMES:
            return (NAMES.index(a),)
        case ["two", a] if a in PLURALS:
            return (PLURALS.index(a),) * 2
        case [a, "left" | "right" as side, b] if a in NAMES and b in NAMES:
            pair = NAMES.index(a), NAMES.index(b)
            return pair if side == "left" else pair[::-1]
    raise _not_of_the_grammar(prompt)


def _not_of_the_grammar(prompt):
    return ValueError(
        f"{prompt!r} is not of the grammar: try 'a three left of a seven above a two', 'two nines'"
    )


def encode(texts):
    """Sentences as the numbers of their words in WORDS, filled up with 0: (len(texts), LENGTH).

    Raises ValueError for a sentence that is not of the grammar.
    """
    rows = []
    for text in texts:
        parse(text)
        words = [WORDS.index(word) for word in text.lower().split() if word in WORDS]
        rows.append(words + [0] * (LENGTH - len(words)))
    return torch.tensor(rows, dtype=torch.long, device=CPU).reshape(-1, LENGTH)


def check_layouts(layouts):
    """Raise ValueError unless layouts is a list of some of LAYOUTS."""
    if (
        not isinstance(layouts, (list, tuple))
        or not layouts
        or any(x not in LAYOUTS for x in layouts)
    ):
        raise ValueError(f"layouts must be some of {LAYOUTS}, got {layouts!r}")


def _check_images(name, x, channels, size):
    check_points(name, x)
    if x.shape[1:] != (channels, size, size):
        raise ValueError(f"{name} must be (n, {channels}, {size}, {size}), got {tuple(x.shape)}")
    check_finite(name, x)


def layout_of(scene):
    """How many digits stand in each row."""
    return tuple(len(row) for row in scene)


def places(layout):
    """The upper left corners (row, column) of the digits of a layout, in reading order."""
    tops = [4] if len(layout) == 1 else [0, 8]
    lefts = {1: [4], 2: [0, 8]}
    return [(top, left) for top, n in zip(tops, layout, strict=True) for left in lefts[n]]


def compose(images, layout):
    """Pictures, (n, 1, 16, 16), -1 but for digits, (n, k, 8, 8), at the k places of a layout.

    Raises ValueError if the shape of images is another, or layout is none of LAYOUTS.
    """
    check_layouts([layout])
    _check_images("images", images, sum(layout), 8)
    canvas = images.new_full((len(images), 1, 16, 16), -1.0)
    for i, (y, x) in enumerate(places(layout)):
        canvas[:, 0, y : y + 8, x : x + 8] = images[:, i]
    return canvas


def halves(seed=0):
    """The handwritten digits, shuffled and cut into a training and a held-out half: two Digits."""
    data, generator = digits(), torch.Generator().manual_seed(whole("seed", seed))
    order = torch.randperm(len(data.labels), generator=generator, device=CPU)
    return [Digits(data.images[rows], data.labels[rows]) for rows in order.tensor_split(2)]


class Scenes:
    """Pictures of scenes, made of the given Digits, and sentences that describe them.

    unseen: the scenes with a pair that is never trained, or those without.  layouts: those of
    LAYOUTS that are wanted; each comes equally often, and within it each scene, for a scene each of
    its sentences, and for a digit each of its images.
    """

    def __init__(self, data, unseen=False, layouts=LAYOUTS):
        check_layouts(layouts)
        self.images = data.images[:, 0]
        rows = [(data.labels == k).nonzero()[:, 0] for k in range(10)]
        if missing := [k for k in range(10) if not len(rows[k])]:
            raise ValueError(f"data must hold an image of every digit, got none of {missing}")
        self.rows, self.count = pad_sequence(rows, True), _lengths(rows)
        self.tables = []  # of each layout: digits (m, k), encoded texts (m, most, LENGTH), how many
        for layout in layouts:
            scenes = [s for s in _every(layout) if is_unseen(s) == unseen]
            if scenes:
                numbers = torch.tensor([sum(scene, ()) for scene in scenes], device=CPU)
                texts = [encode(prompts(scene)) for scene in scenes]
                self.tables.append((layout, numbers, pad_sequence(texts, True), _lengths(texts)))
        if not self.tables:
            raise ValueError(f"no scene of {layouts} has unseen = {unseen}: ask for other layouts")

    def draw(self, n, generator=None):
        """Pictures, (n, 1, 16, 16), and sentences as encode gives them, (n, LENGTH)."""
        n = whole("n", n, 0)
        kind = torch.randint(len(self.tables), (n,), generator=generator, device=CPU)
        pictures = self.images.new_empty(n, 1, 16, 16)
        words = torch.empty(n, LENGTH, dtype=torch.long, device=CPU)
        for i, (layout, numbers, texts, count) in enumerate(self.tables):
            mine = (kind == i).nonzero()[:, 0]
            scene = torch.randint(len(numbers), mine.shape, generator=generator, device=CPU)
            words[mine] = texts[scene, _below(count[scene], generator)]
            digit = numbers[scene]
            which = self.rows[digit, _below(self.count[digit], generator)]
            pictures[mine] = compose(self.images[which], layout)
        return pictures, words


def _every(layout):
    """All scenes of a layout."""
    for numbers in itertools.product(range(10), repeat=sum(layout)):
        rest = iter(numbers)
        yield tuple(tuple(itertools.islice(rest, n)) for n in layout)


def _lengths(parts):
    return torch.tensor([len(part) for part in parts], device=CPU)


def _below(count, generator):
    """Random whole numbers, each from 0 to its count - 1."""
    share = torch.rand(count.shape, generator=generator, dtype=torch.float64, device=CPU)
    return (share * count).long()


class Reader:
    """Reads scenes from pictures, without knowing what they should show.

    The layout is that of the fewest digits with less ink outside their places than three black
    pixels; the digits are read by a support vector machine, trained on data, a Digits.
    """

    def __init__(self, data):
        from sklearn.svm import SVC

        self.svm = SVC(gamma=0.064, C=10).fit(data.images.flatten(1).numpy(), data.labels.numpy())
        self.free = torch.stack([_outside(layout) for layout in LAYOUTS])  # (6, 16, 16)

    def digits(self, images):
        """The labels, (n,), of images of one digit, (n, 1, 8, 8)."""
        _check_images("images", images, 1, 8)
        if not len(images):
            return torch.empty(0, dtype=torch.long, device=CPU)
        x = images.detach().cpu().clamp(-1, 1).flatten(1).numpy()
        return torch.tensor(self.svm.predict(x), device=CPU)

    def read(self, pictures):
        """A list of scenes, one for each of the pictures, (n, 1, 16, 16)."""
        _check_images("pictures", pictures, 1, 16)
        pictures = pictures.detach().cpu()
        ink = (pictures.clamp(-1, 1) + 1) / 2
        few = (ink * self.free).sum((2, 3)) < 3  # (n, 6); true for the last one, which has no rest
        return self.read_as(pictures, [LAYOUTS[i] for i in few.int().argmax(1)])

    def read_as(self, pictures, layouts):
        """A list of scenes: what stands at the places of the layouts, one for each picture."""
        _check_images("pictures", pictures, 1, 16)
        if len(layouts) != len(pictures):
            raise ValueError(
                f"got {len(layouts)} layouts for {len(pictures)} pictures: one for each"
            )
        if not len(pictures):
            return []
        check_layouts(layouts)
        cut = [
            picture[:, y : y + 8, x : x + 8]
            for picture, layout in zip(pictures, layouts, strict=True)
            for y, x in places(layout)
        ]
        found = iter(self.digits(torch.stack(cut)).tolist())
        return [tuple(tuple(itertools.islice(found, n)) for n in layout) for layout in layouts]


def _outside(layout):
    """1 where a layout has no digit."""
    ink = torch.ones(1, sum(layout), 8, 8, dtype=torch.float32, device=CPU)
    return (compose(ink, layout)[0, 0] < 0).float()
