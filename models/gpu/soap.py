"""SOAP (Vyas et al. 2024, arXiv 2409.11321) over all matrices of a shape at
once, and Adam for the rest: `src/train/optimizer.rs` in batched products."""
import torch

from kernels import _adam, _apply, _moment, flat

BETA1, BETA2 = 0.9, 0.95
# A side of a matrix longer than this is not preconditioned.
LARGEST_SIDE = 512
STREAMS = 4


class Side:
    """One side's preconditioners of a group of matrices: `(count, n, n)`."""

    def __init__(self, count, n, device):
        self.covariance = torch.zeros(count, n, n, device=device)
        self.basis = torch.eye(n, device=device).expand(count, n, n).contiguous()

    def absorb(self, g, decay):
        self.covariance.baddbmm_(g, g.mT, beta=decay, alpha=1 - decay)

    def start(self):
        """Takes the eigenvectors, largest eigenvalue first."""
        _, vectors = torch.linalg.eigh(self.covariance)
        self.basis.copy_(vectors.flip(-1))

    def refresh(self):
        """A step of power iteration, made orthonormal by two rounds of
        Cholesky QR; where that fails the old basis serves on."""
        a = self.covariance @ self.basis
        good = True
        for _ in range(2):
            a = a / a.norm(dim=-2, keepdim=True).clamp_min(1e-20)
            factor, info = torch.linalg.cholesky_ex(a.mT @ a)
            a = torch.linalg.solve_triangular(factor, a.mT, upper=False).mT
            good = good & (info == 0)
        good = good & a.isfinite().all(-1).all(-1)
        self.basis.copy_(torch.where(good[:, None, None], a, self.basis))


class Group:
    """Matrices of one shape."""

    def __init__(self, optimizer, at, count, k, n):
        device = optimizer.m.device
        span = slice(at, at + count * k * n)

        def view(flat):
            return flat[span].view(count, k, n)

        self.g, self.m = view(optimizer.grad), view(optimizer.m)
        self.turned_g, self.turned_m = view(optimizer.turned_g), view(optimizer.turned_m)
        self.step, self.update = view(optimizer.step), view(optimizer.update)
        self.left = Side(count, k, device) if k <= LARGEST_SIDE else None
        self.right = Side(count, n, device) if n <= LARGEST_SIDE else None
        self.sides = [side for side in (self.left, self.right) if side]

    def absorb(self, decay):
        if self.left:
            self.left.absorb(self.g, decay)
        if self.right:
            self.right.absorb(self.g.mT, decay)

    def turn(self, x, out, back):
        if self.left:
            q = self.left.basis
            x = (q if back else q.mT) @ x
        if self.right:
            q = self.right.basis
            x = x @ (q.mT if back else q)
        out.copy_(x)

    def into_basis(self):
        self.absorb(BETA2)
        self.turn(self.g, self.turned_g, False)
        self.turn(self.m, self.turned_m, False)

    def out_of_basis(self):
        self.turn(self.step, self.update, True)


class Soap:
    """Updates `parameters` from their gradients.

    `rates` multiplies the learning rate of each number; `schedule` and
    `counter` are described at `kernels._adam`."""

    def __init__(self, parameters, clip, ema):
        self.p, self.clip, self.decay = parameters, clip, ema
        self.grad = parameters.grad

        def zeros():
            return torch.zeros_like(parameters.flat)

        self.m, self.v, self.turned_g, self.turned_m, self.step, self.update = (zeros() for _ in range(6))
        self.rates = torch.ones_like(parameters.flat)
        self.ema = parameters.flat.clone()
        self.norm = torch.zeros((), device=parameters.flat.device)
        self.groups = [Group(self, *group) for group in parameters.groups]
        self.rest = slice(parameters.matrices, None)

    def each(self, work):
        """Does `work` for every group, on parallel streams."""
        if not self.m.is_cuda:
            for group in self.groups:
                work(group)
            return
        current = torch.cuda.current_stream()
        if not hasattr(self, "streams"):
            self.streams = [torch.cuda.Stream() for _ in range(STREAMS)]
        for stream in self.streams:
            stream.wait_stream(current)
        for i, group in enumerate(self.groups):
            with torch.cuda.stream(self.streams[i % STREAMS]):
                work(group)
        for stream in self.streams:
            current.wait_stream(stream)

    def apply(self, schedule, counter):
        """One step."""
        p, count = self.p, len(self.m)
        torch.linalg.vector_norm(self.grad, out=self.norm)
        flat(_moment, count, self.grad, self.m, self.norm, self.clip, BETA1)
        self.each(Group.into_basis)
        self.turned_g[self.rest].copy_(self.grad[self.rest])
        self.turned_m[self.rest].copy_(self.m[self.rest])
        flat(_adam, count, self.turned_m, self.turned_g, self.v, self.step, schedule, counter, BETA2)
        self.each(Group.out_of_basis)
        self.update[self.rest].copy_(self.step[self.rest])
        flat(_apply, count, p.flat, p.half, self.ema, self.update, self.rates, schedule, counter, self.decay)

    def refresh(self):
        """Brings the bases up to date with the covariances."""
        for group in self.groups:
            for side in group.sides:
                side.refresh()

    def start(self):
        """The first bases, from the gradients absorbed so far."""
        for group in self.groups:
            for side in group.sides:
                side.start()
