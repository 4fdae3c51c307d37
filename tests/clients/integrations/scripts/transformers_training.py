"""A tiny language model, made here, trained by Transformers' Trainer, which logs to MLflow.

Prints what it came to, as JSON.
"""

import json
import os

import mlflow
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
)

WORDS = ["[PAD]", "[UNK]", "good", "bad", "very", "model", "data"]
EPOCHS = 3


class Sentences(torch.utils.data.Dataset):
    """Those with `good` are of class 1."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        texts = ["very good model", "bad data", "good data", "very bad model"] * 4
        self.encoded = tokenizer(texts, padding="max_length", max_length=4)
        self.labels = [int("good" in text) for text in texts]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        names = ("input_ids", "attention_mask")
        item = {name: torch.tensor(self.encoded[name][number]) for name in names}
        return item | {"labels": torch.tensor(self.labels[number])}


def main() -> None:
    os.environ.update(
        MLFLOW_EXPERIMENT_NAME="transformers",
        MLFLOW_TAGS=json.dumps({"release.candidate": "RC1"}),
        HF_MLFLOW_LOG_ARTIFACTS="1",
        HF_HUB_OFFLINE="1",
    )
    torch.manual_seed(1)
    vocabulary = models.WordLevel({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]")
    words = Tokenizer(vocabulary)
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    )
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=8,
        )
    )
    config = {key: str(value) for key, value in model.config.to_dict().items()}
    sentences = Sentences(tokenizer)
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir="trained",
            run_name="tiny",
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=8,
            learning_rate=0.01,
            logging_strategy="epoch",
            eval_strategy="epoch",
            save_strategy="epoch",
            report_to=["mlflow"],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=sentences,
        eval_dataset=sentences,
    )
    trainer.train()
    run = mlflow.last_active_run()
    with mlflow.start_run(run_id=run.info.run_id):
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
        # By default MLflow wants torchvision to be there, which is as large as torch.
        needs = ["torch", "transformers"]
        logged = mlflow.transformers.log_model(classify, name="classifier", pip_requirements=needs)
    loaded = mlflow.transformers.load_model(logged.model_uri)
    assert loaded("very good data") == classify("very good data")
    came_to = {
        "run_id": run.info.run_id,
        "model_id": logged.model_id,
        "history": trainer.state.log_history,
        "arguments": {key: str(value) for key, value in trainer.args.to_dict().items()},
        "config": config,
        "best": classify("very good data"),
    }
    print(json.dumps(came_to))


if __name__ == "__main__":
    main()
