from nanochat.core.spec import Spec


class CompareSpec(Spec):
    pass
