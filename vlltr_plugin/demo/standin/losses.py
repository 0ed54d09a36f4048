"""The criterion of a run: a base loss, with room for a teacher."""

from torch import Tensor, nn


class DistillationLoss(nn.Module):
    """A base criterion on the outputs; this small copy knows no teacher.

    Args:
        base_criterion: Takes outputs [B, C] and labels ([B] or [B, C]).
        teacher_model: Must be None.
        distillation_type: Must be "none".
        alpha: Weight of the teacher's part.
        tau: Temperature of the teacher's part.
    """

    def __init__(
        self,
        base_criterion: nn.Module,
        teacher_model: nn.Module | None,
        distillation_type: str,
        alpha: float,
        tau: float,
    ) -> None:
        super().__init__()
        if distillation_type != "none" or teacher_model is not None:
            raise ValueError(f"Expected distillation_type 'none' and no teacher, got {distillation_type!r}")
        self.base_criterion = base_criterion
        self.teacher_model = teacher_model
        self.distillation_type = distillation_type
        self.alpha = alpha
        self.tau = tau

    def forward(self, inputs: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the base loss; `inputs` would be for the teacher."""
        loss: Tensor = self.base_criterion(outputs, labels)
        return loss
