"""The words that people search for stand in the tables of the cookbook and of PyTorch's words, beside a link."""

import pytest
from pages import ROOT

WORDS = {
    "cookbook.md": (
        "csv, tabular, pandas, regression, classification, "
        "one-hot, embedding, normalize, DataLoader, mini-batch, class weights, "
        "imbalanced, multi-task, custom loss, CNN, RNN, GRU, LSTM, time series, attention, siamese, transfer learning, "
        "fine-tuning, freezing, dropout, regularization, overfitting, L2, Xavier, learning rate, schedule, optimizer, "
        "Adam, momentum, validation, early stopping, NaN, seed, inference, online learning, Jacobian, L-BFGS, "
        "Levenberg-Marquardt, Q-learning, DQN, PPO, actor, save, load, pickle, checkpoint, float32, threads, GPU, "
        "CUDA, batch normalisation, Jupyter, progress bar, PyTorch"
    ),
    "pytorch.md": (
        "Dataset, DataLoader, F.one_hot, nn.Linear, nn.Conv2d, nn.Conv1d, nn.MaxPool2d, nn.Flatten, nn.ReLU, "
        "nn.Dropout, nn.LayerNorm, nn.Embedding, nn.RNN, nn.LSTM, nn.GRUCell, nn.MultiheadAttention, nn.Sequential, "
        "nn.Module, xavier_uniform_, nn.CrossEntropyLoss(), weight=, label_smoothing, nn.BCEWithLogitsLoss, "
        "nn.MSELoss, torch.cat, torch.optim.SGD, AdamW, loss.backward(), optimizer.step(), zero_grad(), gradient "
        "accumulation, weight_decay, lr_scheduler, ReduceLROnPlateau, clip_grad_norm_, requires_grad_(False), "
        "model.eval(), torch.no_grad(), model.parameters(), torch.manual_seed, jacrev, x.grad, vmap, "
        "torch.autograd.Function, gradcheck, state_dict(), torch.save(model.state_dict(), torch.save(model), "
        "deepcopy, torch.compile, DataParallel, set_num_threads"
    ),
}


@pytest.mark.parametrize("page", WORDS)
def test_each_word_stands_in_a_row_with_a_link(page):
    text = (ROOT / "docs/learn" / page).read_text(encoding="utf-8")
    rows = [line.lower() for line in text.splitlines() if line.startswith("| ") and "](" in line]
    missing = [word for word in WORDS[page].split(", ") if not any(word.lower() in r for r in rows)]
    assert missing == []
