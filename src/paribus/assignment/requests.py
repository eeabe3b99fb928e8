"""The sixteen requests of the assignment in its own order, and where the answer to each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["answer", "evidence", "rates", "limits"]
WHOLE: tuple[Part, ...] = ("answer", "evidence", "rates", "limits")
TABLE: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Source:
    """A question of an experiment whose commentary answers a request, with its arms in the table.

    `parts` of the commentary are quoted; with none only the table has its arms, and the sentences are told elsewhere.
    `is_headline`: its verdicts stand in the summary too.
    """

    experiment: str
    question: str
    parts: tuple[Part, ...] = WHOLE
    is_headline: bool = True


@dataclass(frozen=True)
class Request:
    """One request: its words, how they are taken here, and what answers it.

    `figures` are named ``"experiment/figure"``; the first carries the answer. `control_of` names the experiment whose
    control is told in a sentence, `splits_of` those whose splits are, `recipes_of` those whose control's recipe is.
    `is_choice`: which arm to take is told of each source. `example` is text to be shown as it is.
    """

    id: str
    asks: str
    taken: str
    figures: tuple[str, ...]
    sources: tuple[Source, ...]
    control_of: str | None = None
    splits_of: tuple[str, ...] = ()
    recipes_of: tuple[str, ...] = ()
    is_choice: bool = False
    example: str = ""

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments that answer it, each once."""
        named = (*((self.control_of,) if self.control_of else ()), *(each.experiment for each in self.sources))
        return tuple(dict.fromkeys((*named, *self.splits_of, *self.recipes_of)))


MNIST, DHCD, DOGS, SIGNS, PEOPLE = "lenet-mnist", "lenet-dhcd", "dogs-vs-cats", "sign-digits", "sign-digits-people"

EXPERIMENTS: dict[str, str] = {
    MNIST: "LeNet-5 on MNIST",
    DHCD: "LeNet-5 on Devanagari characters",
    DOGS: "dogs and cats, by feature extraction",
    SIGNS: "digits in sign language, by fine-tuning",
    PEOPLE: "digits in sign language, by students who were never seen",
}
"""What is run, in this order, and what each is about."""

LOADER = """\
import paribus

photos = paribus.load_data("photos", size=256, fit="crop")  # photos/train/cat/1.jpg, photos/valid/dog/2.jpg ...
images = paribus.Images(photos, "train", seed=0, augment={"hflip": True})
for batch, labels in paribus.Loader(images, batch_size=32):  # float32 (B, 3, 256, 256); int64 (B,)
    ...
"""

REQUESTS: tuple[Request, ...] = (
    Request(
        id="baseline",
        asks="Train LeNet-5 on the training set of MNIST, and validate it on the test set.",
        taken="This is the control, which every change below is compared with. The assignment validates on the test "
        "set. Here a part of the training images validates instead, and the test set is evaluated once per finished "
        "run: its accuracy is one on images by which nothing was chosen.",
        figures=(f"{MNIST}/many-epochs-val-accuracy",),
        sources=(),
        control_of=MNIST,
        splits_of=(MNIST,),
        recipes_of=(MNIST,),
    ),
    Request(
        id="relu",
        asks="Replace tanh by ReLU.",
        taken="Nothing else changes, the learning rate neither: it was not looked for anew. The logits stay without an "
        "activation.",
        figures=(f"{MNIST}/relu-seeds",),
        sources=(Source(MNIST, "relu"),),
    ),
    Request(
        id="max-pooling",
        asks="Replace average pooling by max pooling.",
        taken="Nothing else changes, the learning rate neither.",
        figures=(f"{MNIST}/max-pooling-seeds",),
        sources=(Source(MNIST, "max-pooling"),),
    ),
    Request(
        id="accuracy-and-loss",
        asks="What do these two changes do to accuracy and loss?",
        taken="Each change alone is told above and stands here in the table. Here both are made together, and compared "
        "with what they bring alone. A verdict is on accuracy; the loss stands beside it, with an interval of its own.",
        figures=(f"{MNIST}/both-seeds", f"{MNIST}/both-val-loss", f"{MNIST}/relu-val-loss"),
        sources=(
            Source(MNIST, "both"),
            Source(MNIST, "relu", TABLE, is_headline=False),
            Source(MNIST, "max-pooling", TABLE, is_headline=False),
        ),
    ),
    Request(
        id="batch-size",
        asks="Train with batches of 128 and of 512.",
        taken="The control's batches have 128 images. A larger batch makes fewer updates in as many epochs, and wants "
        "a learning rate of its own: so it is compared at equal epochs, at equal updates, which take as many times the "
        "epochs, and at its best rate.",
        figures=(f"{MNIST}/batch-size-seeds",),
        sources=(Source(MNIST, "batch-size"),),
    ),
    Request(
        id="many-epochs",
        asks="Train for many epochs, and compare the training loss with the validation loss.",
        taken="The verdict is on test accuracy. Whether the network over-fits is told of loss and accuracy apart: they "
        "need not turn together.",
        figures=(f"{MNIST}/many-epochs-losses-epochs-100", f"{MNIST}/many-epochs-val-loss"),
        sources=(Source(MNIST, "many-epochs"),),
    ),
    Request(
        id="learning-rate",
        asks="What does the learning rate do to convergence and to accuracy?",
        taken="The best rate is chosen on validation. Only that one is compared with the control. How fast each rate "
        "converges is what its curve shows.",
        figures=(f"{MNIST}/learning-rate-sweep", f"{MNIST}/learning-rate-train-loss"),
        sources=(Source(MNIST, "learning-rate"),),
    ),
    Request(
        id="optimiser",
        asks="Train with Adam, and with SGD with momentum.",
        taken="Each optimiser is given the learning rate that is best for it on validation, and so is the control: at "
        "one shared rate the rate would be compared, not the optimiser. Only the rate is looked for: the optimisers' "
        "other settings are the usual ones, and more tuning may change their order.",
        figures=(f"{MNIST}/optimiser-seeds",),
        sources=(Source(MNIST, "optimiser"),),
    ),
    Request(
        id="devanagari",
        asks="Do the same for handwritten Devanagari characters.",
        taken="All questions above are asked again of other images and more classes, and one more: how far a stronger "
        "network goes, with a recipe of its own.",
        figures=(
            f"{DHCD}/batch-size-seeds",
            f"{DHCD}/many-epochs-losses-epochs-100",
            f"{DHCD}/learning-rate-sweep",
            f"{DHCD}/optimiser-seeds",
            f"{DHCD}/stronger-network-seeds",
        ),
        sources=(
            Source(DHCD, "relu"),
            Source(DHCD, "max-pooling"),
            Source(DHCD, "both"),
            Source(DHCD, "batch-size"),
            Source(DHCD, "many-epochs"),
            Source(DHCD, "learning-rate"),
            Source(DHCD, "optimiser"),
            Source(DHCD, "stronger-network"),
        ),
        control_of=DHCD,
        splits_of=(DHCD,),
        recipes_of=(DHCD,),
    ),
    Request(
        id="feature-extraction",
        asks="Classify dogs and cats by feature extraction.",
        taken="The pretrained network is frozen, and a head on its features is solved for: that is the control. Beside "
        "it stands what needs no training at all, without which an accuracy says little.",
        figures=(f"{DOGS}/baselines-seeds",),
        sources=(Source(DOGS, "baselines"),),
        control_of=DOGS,
    ),
    Request(
        id="fine-tuning",
        asks="Classify digits in sign language by fine-tuning.",
        taken="The whole pretrained network goes on learning: that is the control. Beside it stand other ways to "
        "begin, at random weights or at a head that is solved for first, and one that leaves the early stages as they "
        "are. From random weights a network is trained no longer than the others, so this tells what so few updates "
        "give, and not what training from scratch can reach.",
        figures=(f"{SIGNS}/start-seeds",),
        sources=(Source(SIGNS, "start"),),
        control_of=SIGNS,
    ),
    Request(
        id="folders",
        asks="Arrange the images in folders for train, val and test, and read them with a loader of your own.",
        taken="The photos lie in train, valid (or val) and test, with a folder for each class. Every file is decoded "
        "once; `paribus.load_data`, `paribus.Images` and `paribus.Loader` give the same images, in a run's own order, "
        "to a training loop of your own. What folders cannot show is who is in them: `sign-digits-people` splits the "
        "photos by the numbers in their names, which step through the students. A student at a border may be cut in "
        "two, so intervals may be somewhat narrower than new students would give.",
        figures=(f"{PEOPLE}/approach-seeds",),
        sources=(Source(PEOPLE, "approach", TABLE, is_headline=False),),
        control_of=PEOPLE,
        splits_of=(DOGS, SIGNS, PEOPLE),
        example=LOADER,
    ),
    Request(
        id="model",
        asks="Which pretrained model, and why?",
        taken="For both cases the control is MobileNetV2: of the networks whose weights were at hand, the one that "
        "also has a head for ImageNet's classes, which serves as a baseline. Against it stands MobileNetV1, and for "
        "the dogs and cats the size at which photos are looked at, which was chosen on validation. `paribus probe` "
        "ranks any others on images of your own, with size, time and licence, before anything is trained.",
        figures=(f"{DOGS}/model-seeds", f"{SIGNS}/model-seeds"),
        sources=(Source(DOGS, "model"), Source(DOGS, "input"), Source(SIGNS, "model")),
        is_choice=True,
    ),
    Request(
        id="optimisation",
        asks="Which optimisation and which parameters, in both cases?",
        taken="For the dogs and cats: a head that is solved for, against one trained by SGD, and several views of each "
        "photo. For the digits: what is trained and from where, told under fine-tuning and here in the table.",
        figures=(f"{DOGS}/solver-seeds", f"{SIGNS}/start-val-loss"),
        sources=(
            Source(DOGS, "solver", ("answer", "evidence", "limits")),
            Source(DOGS, "views"),
            Source(SIGNS, "start", TABLE, is_headline=False),
        ),
        recipes_of=(DOGS, SIGNS),
        is_choice=True,
    ),
    Request(
        id="rates",
        asks="Which learning rate, in both cases?",
        taken="A head that is solved for has none; one that is trained has, and so has fine-tuning. The rate is chosen "
        "on validation; a range test shows where the loss begins to fall as the rate grows, and where it no longer "
        "does.",
        figures=(f"{SIGNS}/rate-sweep", f"{DOGS}/solver-rates"),
        sources=(Source(SIGNS, "rate"), Source(DOGS, "solver", ("rates",), is_headline=False)),
    ),
    Request(
        id="approach",
        asks="Which approach, in both cases, and why?",
        taken="Feature extraction against fine-tuning on either set, from a pretrained network and from scratch; and "
        "for the digits again on photos of other students. Of the dogs and cats the control is feature extraction, of "
        "the digits fine-tuning. From scratch, a network is trained no longer than the others.",
        figures=(f"{DOGS}/approach-seeds", f"{SIGNS}/approach-seeds"),
        sources=(
            Source(DOGS, "approach"),
            Source(SIGNS, "approach"),
            Source(PEOPLE, "approach"),
        ),
        is_choice=True,
    ),
)
