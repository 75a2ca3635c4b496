"""Which two classes does the encoder confuse most, and by which images: python docs/query_embeddings.py [FOLDER].

Each image of val and test is assigned to the nearest class mean of train. FOLDER is data/embeddings/ENCODER-DATASET.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/embeddings/garden_clip-garden")
rows = pq.read_table(folder / "images.parquet", columns=["image_id", "class_name", "split", "embedding"]).to_pandas()
embeddings = np.stack(rows.pop("embedding"))  # (n, d), unit rows

train = (rows["split"] == "train").to_numpy()
means = pd.DataFrame(embeddings[train]).groupby(rows.loc[train, "class_name"].to_numpy()).mean()
directions = means.div(np.linalg.norm(means, axis=1), axis=0)
cosines = pd.DataFrame(embeddings @ directions.T.to_numpy(), rows.index, means.index)[~train]  # (images, classes)
rows = rows[~train].assign(predicted=cosines.idxmax(axis=1))
print(f"{folder}: {len(rows)} images of val and test, accuracy {(rows['class_name'] == rows['predicted']).mean():.3f}")

wrong = rows[rows["class_name"] != rows["predicted"]]
if wrong.empty:
    sys.exit("no image is nearer to the mean of another class")
pairs = wrong[["class_name", "predicted"]].apply(lambda names: " / ".join(sorted(names)), axis=1)
pair = pairs.value_counts().idxmax()
margins = [cosines.at[row, other] - cosines.at[row, own] for row, own, other in wrong[["class_name", "predicted"]].itertuples()]
nearest = wrong.assign(margin=margins)[pairs == pair].nlargest(5, "margin")
print(f"most confused: {pair}, {(pairs == pair).sum()} images; those nearest to the other class's mean:")
print(nearest[["image_id", "class_name", "margin"]].round(3).to_string(index=False))
