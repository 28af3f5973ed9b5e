"""MLflow's view of a bundle, stored as this text beside it ("models from code"), never pickled.

MLflow resolves the annotations of ``predict``, so what they name is imported at the top.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel
from numpy.typing import NDArray

from ml_pipeline.bundle.reader import Bundle


class BundleModel(PythonModel):  # type: ignore[misc]
    """Answers raw features, one column each, with the model's predictions."""

    def load_context(self, context: Any) -> None:
        self._bundle = Bundle.open(Path(context.artifacts["bundle"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float64] | pd.DataFrame:
        """Return float64 of shape [rows]; for several classes one column a class.

        Raises:
            FeatureError: a value is not of its feature's type, a category is refused, or a feature
                that is not optional has no column.
        """
        del context, params
        names = [name for name in self._bundle.schema.names if name in model_input.columns]
        columns = {name: model_input[name].tolist() for name in names}
        found = self._bundle.predict(self._bundle.schema.encode(columns))
        return self._bundle.task.pyfunc(found)  # type: ignore[no-any-return]


mlflow.models.set_model(BundleModel())
