import{j as o}from"./chunk-QPHL2X2O.js";var n=o(null),p=o(null);export{n as a,p as b};
