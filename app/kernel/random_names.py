"""Random names for runs and logged models without a name."""

import secrets

_ADJECTIVES = (  # noqa: SIM905
    "amber ample bold brave brief bright brisk calm candid clear clever coral crisp daring deft"
    " eager early fair fleet fond frank fresh gentle glad golden grand handy hardy honest humble"
    " ideal jolly keen kind light lively loyal lucid lucky mellow merry mild modest neat nimble"
    " noble plucky polite proud quick quiet rapid ready robust rustic serene sharp silent silver"
    " smart smooth snug solid spry stately steady still stout sunny swift tidy trusty upbeat valid"
    " vivid warm whole wise witty zesty"
).split()
_NOUNS = (  # noqa: SIM905
    "acorn alder anchor apple arrow aspen badger beacon beech birch bison breeze brook canyon"
    " cedar cliff cloud comet coral crane creek dawn delta dune eagle elm ember falcon fern finch"
    " fjord forest fox glade grove gull harbor hare hawk hazel heron hill ibis island jay juniper"
    " lagoon lake lark leaf lynx maple marsh meadow moon moss oak orchid osprey otter owl panda"
    " pebble pine plum pond poplar quail quartz rain raven reef ridge river robin sage shore sky"
    " sparrow spruce star stone stork summit swan thrush tide trout valley wave willow wren"
).split()


def random_name() -> str:
    """An adjective, a noun and a number, as `brisk-heron-417`."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(1000)}"
