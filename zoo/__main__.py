"""The command ``zoo``."""

from zoo.cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
