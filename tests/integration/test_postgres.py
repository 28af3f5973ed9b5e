def test_it(postgres, postgres_registry):
    with postgres.connect("mlflow") as c:
        print(c.execute("select count(*) from registered_models").fetchall())
