"""A small network, by MLflow's autologging and by Lightning's own MLFlowLogger.

Prints what they came to, as JSON.
"""

import hashlib
import json
import os
from pathlib import Path

import lightning
import mlflow
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 4


class Network(lightning.LightningModule):
    def __init__(self, width: int = 8, rate: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 1)
        )

    def loss(self, batch: list[torch.Tensor], name: str) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layers(x), y)
        self.log(name, loss, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        return self.loss(batch, "train_loss")

    def validation_step(self, batch: list[torch.Tensor], number: int) -> None:
        self.loss(batch, "val_loss")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)


class History(Callback):
    """What Lightning itself measured at the end of each epoch."""

    def __init__(self) -> None:
        self.losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Network) -> None:
        for name, losses in self.losses.items():
            losses.append(trainer.callback_metrics[name].item())


def trainer(history: History, *callbacks: Callback, **more: object) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[history, *callbacks],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def data() -> DataLoader:
    x = torch.randn(64, 4)
    return DataLoader(TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=16)


def autologged() -> dict[str, object]:
    mlflow.set_experiment("lightning")
    mlflow.pytorch.autolog(log_every_n_epoch=1)
    history = History()
    network, training = Network(), data()
    with mlflow.start_run() as run:
        trainer(history, logger=False).fit(network, training, training)
    mlflow.pytorch.autolog(disable=True)
    (output,) = mlflow.get_run(run.info.run_id).outputs.model_outputs
    loaded = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    expected = network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    return {"run_id": run.info.run_id, "losses": history.losses}


def by_its_logger() -> dict[str, object]:
    history = History()
    network, training = Network(width=4), data()
    logger = MLFlowLogger(
        experiment_name="lightning logs",
        run_name="its own logger",
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
        tags={"team": "a"},
        log_model="all",
    )
    checkpoint = ModelCheckpoint(monitor="val_loss", save_top_k=-1, dirpath="by its logger")
    trainer(history, checkpoint, logger=logger).fit(network, training, training)
    return {
        "run_id": logger.run_id,
        "losses": history.losses,
        "checkpoints": {
            path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in Path("by its logger").iterdir()
        },
    }


def main() -> None:
    torch.manual_seed(1)
    print(json.dumps({"autologged": autologged(), "by_its_logger": by_its_logger()}))


if __name__ == "__main__":
    main()
