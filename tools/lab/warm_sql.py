"""The image for topics with a database: SQLAlchemy imported, and used once on SQLite."""

# ruff: noqa: F401
import sqlalchemy
import sqlalchemy.dialects.sqlite
import sqlalchemy.orm
import sqlalchemy.pool


def _warm_sqlalchemy():
    from sqlalchemy import create_engine, func, select, text
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    engine = create_engine("sqlite:////tmp/warm.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Row(name="a"))
        session.commit()
        assert session.scalar(select(func.count()).select_from(Row)) == 1
        assert session.scalars(select(Row)).one().name == "a"
    with engine.begin() as connection:
        connection.execute(text("delete from rows"))
    engine.dispose()


_warm_sqlalchemy()
