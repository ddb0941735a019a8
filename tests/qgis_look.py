"""What QGIS makes of an image: run by an interpreter that has QGIS, as IMAGE.tif RENDERED.png; prints JSON.

Loads the image as a user does, with whatever style lies beside it, and renders it pixel by pixel.
"""

from __future__ import annotations

import json
import sys

from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize, Qt


def main(image: str, rendered: str) -> None:
    QgsApplication.setPrefixPath("/usr", True)
    qgis = QgsApplication([], False)
    qgis.initQgis()
    layer = QgsRasterLayer(image, "image", "gdal")
    assert layer.isValid()
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
    settings.setExtent(layer.extent())
    settings.setBackgroundColor(Qt.transparent)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(rendered)
    print(json.dumps({"renderer": layer.renderer().type(), "bands": layer.renderer().usesBands()}))
    del layer, job
    qgis.exitQgis()


if __name__ == "__main__":
    main(*sys.argv[1:])
