"""The peers of ``benchmarks/serving.py``: a model behind HTTP, as each framework's manual does it.

Run with uvicorn's ``--factory``: ``peers:fastapi_xgboost`` and so on. ``MODEL`` is the folder with
``model.onnx`` and ``model.ubj``.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

FOLDER = Path(os.environ["MODEL"])


class Query(msgspec.Struct):
    features: list[float | None]


class Prediction(msgspec.Struct):
    probability: float
    model_version: int


def onnx() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (FOLDER / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name, wanted = session.get_inputs()[0].name, [session.get_outputs()[1].name]

    def predict(row: list[float | None]) -> float:
        encoded = np.array([row], dtype=np.float32)
        return float(session.run(wanted, {name: encoded})[0][0, 1])

    return predict


def xgboost() -> Any:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(FOLDER / "model.ubj")

    def predict(row: list[float | None]) -> float:
        return float(booster.inplace_predict(np.array([row], dtype=np.float32))[0])

    return predict


def fastapi_with(predict: Any) -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Asked(BaseModel):
        features: list[float | None]

    class Answered(BaseModel):
        probability: float
        model_version: int

    app = FastAPI()

    @app.post("/predict")
    async def answer(query: Asked) -> Answered:
        return Answered(probability=predict(query.features), model_version=1)

    return app


def fastapi_xgboost() -> Any:
    return fastapi_with(xgboost())


def fastapi_onnx() -> Any:
    return fastapi_with(onnx())


def litestar_onnx() -> Any:
    from litestar import Litestar, post

    predict = onnx()

    @post("/predict", status_code=200)
    async def answer(data: Query) -> Prediction:
        return Prediction(predict(data.features), 1)

    return Litestar([answer])


def starlette_msgspec() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    predict = onnx()
    decode, encode = msgspec.json.Decoder(Query).decode, msgspec.json.Encoder().encode

    async def answer(request: Request) -> Response:
        query = decode(await request.body())
        return Response(
            encode(Prediction(predict(query.features), 1)), media_type="application/json"
        )

    return Starlette(routes=[Route("/predict", answer, methods=["POST"])])


def bare_asgi() -> Any:
    predict = onnx()
    decode, encode = msgspec.json.decode, msgspec.json.encode

    async def app(_: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        answer = encode({"probability": predict(decode(body)["features"]), "model_version": 1})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app
