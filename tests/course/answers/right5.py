import torch


def train(net, optimizer, train_batches, val_batches, epochs):
    measure = torch.nn.CrossEntropyLoss()
    rows = []
    for _ in range(epochs):
        net.train()
        train_loss, count = 0.0, 0
        for images, labels in train_batches:
            loss = measure(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(labels)
            count += len(labels)
        net.eval()
        val_loss, right, val_count = 0.0, 0, 0
        with torch.no_grad():
            for images, labels in val_batches:
                logits = net(images)
                val_loss += measure(logits, labels).item() * len(labels)
                right += (logits.argmax(1) == labels).sum().item()
                val_count += len(labels)
        rows.append((train_loss / count, val_loss / val_count, right / val_count))
    return rows
