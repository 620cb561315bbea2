from backworks.ffi.contract import Library

def open(path: str) -> Library: ...  # noqa: A001, the contract's name for it
def stop_logging() -> None: ...
