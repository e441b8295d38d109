import sys, time
import numpy as np

method, source, target, width, height, sigma, factor = sys.argv[1:]
width, height, factor, sigma = int(width), int(height), int(factor), float(sigma)
noisy = np.fromfile(source, dtype="<f4").reshape(height, width, 3)
stored = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
if method == "BM3D":
    import bm3d
    start = time.perf_counter()
    out = 255 * bm3d.bm3d_rgb(noisy.astype(np.float64) / 255, sigma / 255)
elif method == "non-local means (OpenCV)":
    import cv2
    start = time.perf_counter()
    # The strength that its documentation advises is the standard deviation's size.
    out = cv2.fastNlMeansDenoisingColored(stored, None, 0.9 * sigma, 0.9 * sigma, 7, 21)
elif method == "Telea (OpenCV)":
    import cv2
    start = time.perf_counter()
    mask = (stored.max(axis=2) == 0).astype(np.uint8)
    out = cv2.inpaint(stored, mask, 3, cv2.INPAINT_TELEA)
elif method == "Lanczos (OpenCV)":
    import cv2
    start = time.perf_counter()
    out = cv2.resize(stored, (width * factor, height * factor), interpolation=cv2.INTER_LANCZOS4)
else:
    sys.exit("unknown method " + method)
seconds = time.perf_counter() - start
np.ascontiguousarray(out, dtype="<f4").tofile(target)
print(seconds)
