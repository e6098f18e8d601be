class Window:
    m_h: int
    m_w: int
    k_h: int
    k_w: int
    n_h: int
    n_w: int
    s: int
    p: int
    q: int
    phases_h: int
    phases_w: int
    pitch: int
    plane: int
    frame: int
    reach: int
    def __init__(
        self,
        m_h: int,
        m_w: int,
        k_h: int,
        k_w: int,
        n_h: int,
        n_w: int,
        s: int,
        p: int,
        q: int,
    ) -> None: ...
