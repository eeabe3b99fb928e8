"""The sixteen requests of the assignment in its own order, and where the answer to each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["answer", "evidence", "rates", "limits"]
WHOLE: tuple[Part, ...] = ("answer", "evidence", "rates", "limits")
ANSWER: tuple[Part, ...] = ("answer",)
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
    control is told in a sentence, `splits_of` those whose splits are.
    """

    id: str
    asks: str
    taken: str
    figures: tuple[str, ...]
    sources: tuple[Source, ...]
    control_of: str | None = None
    splits_of: tuple[str, ...] = ()

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments that answer it, each once."""
        named = (*((self.control_of,) if self.control_of else ()), *(each.experiment for each in self.sources))
        return tuple(dict.fromkeys((*named, *self.splits_of)))


MNIST, DHCD, DOGS, SIGNS, PEOPLE = "lenet-mnist", "lenet-dhcd", "dogs-vs-cats", "sign-digits", "sign-digits-people"

EXPERIMENTS: dict[str, str] = {
    MNIST: "LeNet-5 on MNIST",
    DHCD: "LeNet-5 on Devanagari characters",
    DOGS: "dogs and cats, by feature extraction",
    SIGNS: "digits in sign language, by fine-tuning",
    PEOPLE: "digits in sign language, by students who were never seen",
}
"""What is run, in this order, and what each is about."""

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
    ),
    Request(
        id="relu",
        asks="Replace tanh by ReLU.",
        taken="Nothing else changes, and the logits stay without an activation.",
        figures=(f"{MNIST}/relu-seeds",),
        sources=(Source(MNIST, "relu"),),
    ),
    Request(
        id="max-pooling",
        asks="Replace average pooling by max pooling.",
        taken="Nothing else changes.",
        figures=(f"{MNIST}/max-pooling-seeds",),
        sources=(Source(MNIST, "max-pooling"),),
    ),
    Request(
        id="accuracy-and-loss",
        asks="What do these two changes do to accuracy and loss?",
        taken="Each change alone is told above and stands here in the table. Here both are made together, and compared "
        "with what they bring alone.",
        figures=(f"{MNIST}/both-val-loss", f"{MNIST}/both-seeds"),
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
        "a learning rate of its own: so it is compared at equal epochs, at equal updates, and at its best rate.",
        figures=(f"{MNIST}/batch-size-seeds",),
        sources=(Source(MNIST, "batch-size"),),
    ),
    Request(
        id="many-epochs",
        asks="Train for many epochs, and compare the training loss with the validation loss.",
        taken="Whether the network over-fits is told of loss and accuracy apart: they need not turn together.",
        figures=(f"{MNIST}/many-epochs-val-loss", f"{MNIST}/many-epochs-train-loss"),
        sources=(Source(MNIST, "many-epochs"),),
    ),
    Request(
        id="learning-rate",
        asks="What does the learning rate do to convergence and to accuracy?",
        taken="The best rate is chosen on validation. Only that one is compared with the control.",
        figures=(f"{MNIST}/learning-rate-sweep", f"{MNIST}/learning-rate-train-loss"),
        sources=(Source(MNIST, "learning-rate"),),
    ),
    Request(
        id="optimiser",
        asks="Train with Adam, and with SGD with momentum.",
        taken="Each optimiser is given the learning rate that is best for it on validation, and so is the control: at "
        "one shared rate the rate would be compared, not the optimiser.",
        figures=(f"{MNIST}/optimiser-seeds",),
        sources=(Source(MNIST, "optimiser"),),
    ),
    Request(
        id="devanagari",
        asks="Do the same for handwritten Devanagari characters.",
        taken="All questions above are asked again of other images and more classes, and one more: how far a stronger "
        "network goes.",
        figures=(f"{DHCD}/stronger-network-seeds", f"{DHCD}/learning-rate-sweep", f"{DHCD}/optimiser-seeds"),
        sources=(
            Source(DHCD, "stronger-network"),
            Source(DHCD, "relu", ANSWER),
            Source(DHCD, "max-pooling", ANSWER),
            Source(DHCD, "both", ANSWER),
            Source(DHCD, "batch-size", ANSWER),
            Source(DHCD, "many-epochs", ("answer", "evidence")),
            Source(DHCD, "learning-rate", ("answer", "evidence")),
            Source(DHCD, "optimiser", ANSWER),
        ),
        control_of=DHCD,
        splits_of=(DHCD,),
    ),
    Request(
        id="feature-extraction",
        asks="Classify dogs and cats by feature extraction.",
        taken="The pretrained network is frozen, and a head on its features is solved for. Beside it stands what needs "
        "no training at all, without which an accuracy says little.",
        figures=(f"{DOGS}/baselines-seeds",),
        sources=(Source(DOGS, "baselines"),),
        control_of=DOGS,
    ),
    Request(
        id="fine-tuning",
        asks="Classify digits in sign language by fine-tuning.",
        taken="The whole pretrained network goes on learning. Beside it stand other ways to begin: at random weights, "
        "at a head that is solved for first, with the early stages left as they are.",
        figures=(f"{SIGNS}/start-seeds",),
        sources=(Source(SIGNS, "start"),),
        control_of=SIGNS,
    ),
    Request(
        id="folders",
        asks="Arrange the images in folders for train, val and test, and read them with a loader of your own.",
        taken="The photos lie in train, valid and test, with a folder for each class. Every file is decoded once; "
        "`paribus.load_data`, `paribus.Images` and `paribus.Loader` give the same images, in a run's own order, to a "
        "training loop of your own. What folders cannot show is who is in them: `sign-digits-people` splits the "
        "photos so that no student is in two splits.",
        figures=(f"{PEOPLE}/approach-seeds",),
        sources=(Source(PEOPLE, "approach", ("answer", "evidence")),),
        control_of=PEOPLE,
        splits_of=(DOGS, SIGNS, PEOPLE),
    ),
    Request(
        id="model",
        asks="Which pretrained model, and why?",
        taken="For both cases: the same two networks, and for the dogs and cats the size at which photos are looked "
        "at. `paribus probe` ranks any others on images of your own before anything is trained.",
        figures=(f"{DOGS}/model-seeds", f"{SIGNS}/model-seeds"),
        sources=(Source(DOGS, "model"), Source(DOGS, "input"), Source(SIGNS, "model")),
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
    ),
    Request(
        id="rates",
        asks="Which learning rate, in both cases?",
        taken="A head that is solved for has none; one that is trained has, and so has fine-tuning. The rate is chosen "
        "on validation, and a range test shows from where to where the loss falls at all.",
        figures=(f"{SIGNS}/rate-sweep", f"{DOGS}/solver-rates"),
        sources=(Source(SIGNS, "rate"), Source(DOGS, "solver", ("rates",), is_headline=False)),
    ),
    Request(
        id="approach",
        asks="Which approach, in both cases, and why?",
        taken="Feature extraction against fine-tuning on either set, from a pretrained network and from scratch; and "
        "for the digits again on students whom no training image shows.",
        figures=(f"{DOGS}/approach-seeds", f"{SIGNS}/approach-seeds"),
        sources=(
            Source(DOGS, "approach"),
            Source(SIGNS, "approach"),
            Source(PEOPLE, "approach", ("answer", "limits")),
        ),
    ),
)
